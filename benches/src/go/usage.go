// What the process has used.

package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

func cpu() (cpuTime, error) {
	var spent syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &spent)
	return cpuTime{spent.Utime.Nano(), spent.Stime.Nano()}, err
}

func (after cpuTime) since(before cpuTime) cpuTime {
	return cpuTime{after.UserNanos - before.UserNanos, after.SystemNanos - before.SystemNanos}
}

func resident() (int64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	columns := strings.Fields(string(statm))
	if len(columns) < 2 {
		return 0, fmt.Errorf("/proc/self/statm has no second column: %s", statm)
	}
	pages, err := strconv.ParseInt(columns[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// currentUsage collects garbage only if memory is of interest: it would slow down the next handshakes.
func currentUsage(memory bool) (u usage, err error) {
	if memory {
		debug.FreeOSMemory()
	}
	if u.ResidentBytes, err = resident(); err != nil {
		return u, err
	}
	u.CPU, err = cpu()
	return u, err
}
