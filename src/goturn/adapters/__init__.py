"""goturn's tracker behind the interfaces of others."""
