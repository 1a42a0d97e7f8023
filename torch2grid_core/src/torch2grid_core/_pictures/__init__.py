"""What is drawn: grids, their colours, the layouts that say where weights go, and pages of panels."""
