"""Devices, threads, precision, passes of one fixed size, and Ray clusters."""
