"""Tests: behaviour in sentences, against real wires."""
