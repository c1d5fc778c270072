"""The tracker for web pages: `s.js` is its source, `shorten` makes it small, `serving` answers."""
