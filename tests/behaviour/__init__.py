"""Tests that run the scripts as they are attached: the bundles, as the Gateway starts them."""
