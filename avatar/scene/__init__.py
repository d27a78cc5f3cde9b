"""Where the person stands: what is behind them, their place before it, light and colour."""
