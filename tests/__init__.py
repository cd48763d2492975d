"""Tests in tiers: unit, ports, integration, acceptance, architecture; support has what they run against."""
