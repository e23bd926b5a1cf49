"""Parts that models are made of: attention, positions, blocks, the valve, encoders, heads."""
