"""Training of video language models: supervised fine-tuning and reinforcement by a verifiable reward."""
