"""What music is compared in for the Frechet audio distance: vectors of a pretrained network, one per some time."""
