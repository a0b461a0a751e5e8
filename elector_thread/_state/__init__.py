"""What is known: frozen values, the pure rules over them, and the store that holds them."""
