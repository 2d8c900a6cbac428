"""Every row of the attack list as a test on real servers: a stock agent, ours, and ours with the wall taken away."""
