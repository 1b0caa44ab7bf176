module sluice/services/embedder

go 1.26

require sluice/pkg v0.0.0

replace sluice/pkg => ../../pkg
