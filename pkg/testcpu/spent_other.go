//go:build !unix

package testcpu

import "time"

var began = time.Now()

// spent is the time on the wall, where nothing else is known.
func spent() time.Duration { return time.Since(began) }
