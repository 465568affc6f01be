"""How fast is it: load on a service, and what this machine could do at best."""
