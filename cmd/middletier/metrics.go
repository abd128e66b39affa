package main

import (
	"context"
	"errors"
	"runtime"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"middletier/internal/api"
	"middletier/internal/obo"
	"middletier/internal/validate"
)

// processMetrics reads counts from the parts that maintain them, when metrics are requested, so
// that nothing is counted twice.
type processMetrics struct {
	validator *validate.Validator
	exchanger *obo.Client
	webApp    *obo.Client // nil without sessions
	cache     *obo.Cache
	api       *api.Server
}

// register adds the metrics to meter.
func (n processMetrics) register(meter metric.Meter) error {
	var errs []error
	gauge := func(name, help string, read func(metric.Float64Observer)) {
		_, err := meter.Float64ObservableGauge(name, metric.WithDescription(help), callback(read))
		errs = append(errs, err)
	}
	counter := func(name, help string, read func(metric.Float64Observer)) {
		_, err := meter.Float64ObservableCounter(name, metric.WithDescription(help), callback(read))
		errs = append(errs, err)
	}
	gauge("middletier_cache_entries", "Tokens and cached refusals in memory.", func(o metric.Float64Observer) {
		o.Observe(float64(n.cache.Stats().Entries))
	})
	gauge("middletier_cache_bytes", "Memory that the token cache has allocated.", func(o metric.Float64Observer) {
		o.Observe(float64(n.cache.Stats().Bytes))
	})
	gauge("middletier_verified_tokens_bytes", "Memory that the cache of verified tokens takes, about.", func(o metric.Float64Observer) {
		o.Observe(float64(n.validator.CachedBytes()))
	})
	counter("middletier_cache_evictions_total", "Entries that were evicted because the cache was full.", func(o metric.Float64Observer) {
		o.Observe(float64(n.cache.Stats().Evictions))
	})
	counter("middletier_redis_errors_total", "Operations on Redis that failed, and writes that were dropped.", func(o metric.Float64Observer) {
		o.Observe(float64(n.cache.Stats().RedisErrors))
	})
	const redisUp = "1 while Redis is used, 0 while the circuit breaker is open because Redis fails; absent without Redis."
	gauge("middletier_redis_up", redisUp, func(o metric.Float64Observer) {
		if s := n.cache.Stats(); s.Redis {
			o.Observe(boolToFloat(s.RedisUp))
		}
	})
	gauge("middletier_open_websockets", "WebSockets that are open.", func(o metric.Float64Observer) {
		o.Observe(float64(n.api.OpenWebSockets()))
	})
	gauge("middletier_token_exchanges_in_flight", "Exchanges with the identity provider in progress.", func(o metric.Float64Observer) {
		o.Observe(float64(n.exchanger.UnderWay()))
	})
	gauge("middletier_credential_expiry_timestamp_seconds",
		"When the certificate in use expires, as Unix time, or the web app's if that is earlier; absent without a certificate.",
		func(o metric.Float64Observer) {
			if expires, ok := n.credentialExpiry(); ok {
				o.Observe(float64(expires.Unix()))
			}
		})
	ok := metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "ok")))
	failed := metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "failed")))
	counter("middletier_signing_key_refreshes_total", "Fetches of the identity provider's signing keys.", func(o metric.Float64Observer) {
		s := n.validator.Stats()
		o.Observe(float64(s.Refreshed), ok)
		o.Observe(float64(s.Failed), failed)
	})
	const keysAge = "The age of the signing keys: how long ago the identity provider sent them; absent while there are none."
	gauge("middletier_signing_keys_age_seconds", keysAge, func(o metric.Float64Observer) {
		if fetched := n.validator.Stats().Fetched; !fetched.IsZero() {
			o.Observe(time.Since(fetched).Seconds())
		}
	})
	build := attribute.NewSet(
		attribute.String("version", version), attribute.String("commit", revision()), attribute.String("go", runtime.Version()))
	gauge("middletier_build_info", "Always 1; the labels name the build.", func(o metric.Float64Observer) {
		o.Observe(1, metric.WithAttributeSet(build))
	})
	return errors.Join(errs...)
}

// credentialExpiry returns when the first of the certificates in use expires, and whether
// there is one.
func (n processMetrics) credentialExpiry() (time.Time, bool) {
	expires, ok := n.exchanger.CredentialExpiry()
	if n.webApp == nil {
		return expires, ok
	}
	if other, found := n.webApp.CredentialExpiry(); found && (!ok || other.Before(expires)) {
		return other, true
	}
	return expires, ok
}

func callback(read func(metric.Float64Observer)) metric.Float64ObservableOption {
	return metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
		read(o)
		return nil
	})
}

func boolToFloat(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
