"""No networks: ViTs are the published program's own."""
