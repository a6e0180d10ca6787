"""Sources: each lists a published or hospital layout as manifest rows and the files behind them."""
