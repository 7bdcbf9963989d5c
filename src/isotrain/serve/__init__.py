"""The web server: photos, people and trainings, for a family or a cluster; nothing leaves the machine."""
