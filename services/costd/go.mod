module sluice/services/costd

go 1.26

require sluice/pkg v0.0.0

replace sluice/pkg => ../../pkg
