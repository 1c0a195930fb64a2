"""`zegel demo`: three operators, a simulated fleet, and a check of every single reading."""
