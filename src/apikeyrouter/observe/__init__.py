"""Events turned into what people watch: logs, later metrics and spans. Siblings that do not know each other."""
