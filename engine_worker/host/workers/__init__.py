"""The engine workers that a host starts: processes of their own, which outlive it and are found again."""
