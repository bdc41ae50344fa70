"""The console: a page that shows the fleet, with a chat. Its files are in static/."""
