"""Tests with the real SDKs in a real Chromium; `setup` prepares what they need."""
