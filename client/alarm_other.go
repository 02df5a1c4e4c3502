//go:build !linux

package client

func newAlarm(ring func()) alarm { return newTimerAlarm(ring) }
