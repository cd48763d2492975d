"""Tests in tiers: unit, ports, integration, acceptance, architecture; support holds their neighbours."""
