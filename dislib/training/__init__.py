"""Fine-tuning: settings, examples, the objective, the loop, what it leaves behind, and the methods of the course."""
