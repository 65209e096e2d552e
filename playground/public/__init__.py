"""What only public mode needs: request filter, ownership, fair queue, disk quota, session state."""
