module sluice/services/costd

go 1.26

replace sluice/pkg => ../../pkg
