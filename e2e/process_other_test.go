//go:build !linux

package e2e

import "syscall"

// Only Linux tells what is asked here; elsewhere the tests check less.

func dieWithParent() *syscall.SysProcAttr { return nil }

func peak(int) (int64, error) { return 0, nil }

func running(string) []int { return nil }
