"""What a notebook alone needs: its claims, the checks of its exercises, and its figures, one module a lesson."""
