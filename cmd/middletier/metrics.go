package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"middletier/internal/obo"
)

// metrics reads the numbers of the token cache and the credential when it is
// asked, so that nothing is counted twice.
type metrics struct {
	cache     *obo.Cache
	exchanger *obo.Client
}

var (
	cacheEntries     = describe("middletier_cache_entries", "Tokens and remembered refusals held in memory.")
	cacheBytes       = describe("middletier_cache_bytes", "Memory that the token cache has taken, in bytes.")
	cacheEvictions   = describe("middletier_cache_evictions_total", "Entries that left memory for want of space.")
	redisErrors      = describe("middletier_redis_errors_total", "Operations on Redis that failed or were not tried.")
	credentialExpiry = describe("middletier_credential_expiry_timestamp_seconds", "When the certificate in use expires, as Unix time; absent without a certificate.")
)

func describe(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

// handler answers scrapes (Prometheus exposition format).
func (m metrics) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Describe sends what Collect may send (prometheus.Collector).
func (m metrics) Describe(all chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{cacheEntries, cacheBytes, cacheEvictions, redisErrors, credentialExpiry} {
		all <- d
	}
}

// Collect sends the numbers of now (prometheus.Collector).
func (m metrics) Collect(all chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
		all <- prometheus.MustNewConstMetric(d, kind, value)
	}
	s := m.cache.Stats()
	send(cacheEntries, prometheus.GaugeValue, float64(s.Entries))
	send(cacheBytes, prometheus.GaugeValue, float64(s.Bytes))
	send(cacheEvictions, prometheus.CounterValue, float64(s.Evictions))
	send(redisErrors, prometheus.CounterValue, float64(s.RedisErrors))
	if expires, ok := m.exchanger.CredentialExpiry(); ok {
		send(credentialExpiry, prometheus.GaugeValue, float64(expires.Unix()))
	}
}
