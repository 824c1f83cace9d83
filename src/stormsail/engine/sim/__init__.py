"""The deterministic simulator: the whole engine on a made-up machine, network and disk, all drawn from one seed."""
