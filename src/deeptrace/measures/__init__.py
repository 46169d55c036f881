"""Every metric of one video, once: labels, boxes, times, tubes, probabilities; and the row that sees no pixels."""
