"""Tests of job reports."""
