module sluice/services/embedder

go 1.26.0

require (
	go.uber.org/goleak v1.3.0
	pgregory.net/rapid v1.3.0
	sluice/pkg v0.0.0
)

replace sluice/pkg => ../../pkg
