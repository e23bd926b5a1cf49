"""Small pieces everything else stands on: errors, registries, configs, seeding."""
