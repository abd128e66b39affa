package main

import (
	"testing"
	"time"
)

// BenchmarkStart measures how long the program, built as for a release, takes from its start
// until it is ready, with the platform on loopback. It reports the median of b.N starts.
func BenchmarkStart(b *testing.B) {
	platform, secret := startBenchPlatform(b)
	config := benchConfig(b, platform.URL(), secret, "http://127.0.0.1:9", "", "")
	binary := buildProgram(b)
	var starts []float64
	for b.Loop() {
		address := "127.0.0.1:" + freePorts(b, 1)[0]
		cmd := benchCommand(b, platform.CAPEM(), binary, "serve", "--config", config)
		cmd.Env = append(cmd.Env, "Server__Address="+address)
		begun := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		awaitReady(b, address)
		starts = append(starts, float64(time.Since(begun).Microseconds())/1000)
		_ = cmd.Process.Kill() // awaited here, so that it does not compete with the next one
		_ = cmd.Wait()
	}
	b.ReportMetric(median(starts), "ready-ms")
}
