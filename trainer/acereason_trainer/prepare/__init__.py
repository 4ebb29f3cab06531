"""What happens on a CPU before an attempt: sources become artifacts, the key is computed, finished
work is looked for, inputs are verified, the state to go on from is chosen. Free of torch."""
