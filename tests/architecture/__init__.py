"""Architecture tests: layers hold, modules are small and well named, documents are complete, the locks agree."""
