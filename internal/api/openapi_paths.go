package api

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"middletier/internal/validate"
)

const (
	userScheme, appScheme, bearerScheme = "user", "application", "bearer"
	ownTag                              = "middletier"
)

// describedMethods are those that OpenAPI 3.1 has a word for and that can be
// forwarded.
var describedMethods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// addPaths adds to paths those that the access rules of an API mention on route.
// Rules whose paths are the same to OpenAPI share an entry, which names them all.
func addPaths(paths object, name string, rules []validate.Rule, route route, idURI string) {
	for _, rule := range rules {
		granting := rule.Scopes
		if route.app {
			granting = rule.AppPermissions
		}
		patterns, methods := rule.Paths, rule.Methods
		if len(patterns) == 0 {
			patterns = []string{"/**"}
		}
		if len(methods) == 0 {
			methods = describedMethods
		}
		if len(granting) == 0 {
			continue // the rule is for the other route
		}
		for _, pattern := range patterns {
			path, parameters := pathTemplate(pattern)
			path = route.prefix + name + path
			item, _ := paths[path].(object)
			if item == nil {
				item = object{}
				if parameters != nil {
					item["parameters"] = parameters
				}
				paths[path] = item
			}
			for _, method := range methods {
				if slices.Contains(describedMethods, method) {
					allow(item, name, method, pattern, granting, route, idURI)
				}
			}
		}
	}
}

// severalSegments describes a parameter that OpenAPI has no way to describe.
const severalSegments = "Any number of segments, as in `items/1`. The slashes between them are sent as they are: " +
	"a client that encodes them as `%2F` is answered 400."

// pathTemplate turns the pattern of an access rule into a path with parameters,
// which are numbered: paths that differ in their names only are the same.
func pathTemplate(pattern string) (path string, parameters []object) {
	for _, segment := range strings.Split(strings.TrimSuffix(pattern, "/"), "/")[1:] {
		path += "/"
		wildcard, description := "*", "One segment of the path, or a part of one"
		if segment == "**" {
			wildcard, description = "**", severalSegments
		}
		for i, literal := range strings.Split(segment, wildcard) {
			if i > 0 {
				name := "path"
				if len(parameters) > 0 {
					name += strconv.Itoa(len(parameters) + 1)
				}
				parameter := object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}, "description": description}
				if segment == "**" {
					parameter["x-multi-segment"] = true // no word of OpenAPI's own says so before 3.2
				}
				parameters = append(parameters, parameter)
				path += "{" + name + "}"
			}
			path += url.PathEscape(literal)
		}
	}
	return path, parameters
}

// allow adds what grants method to item: any one of these scopes or app
// permissions, beside what is there.
func allow(item object, api, method, pattern string, granting []string, route route, idURI string) {
	key := strings.ToLower(method)
	operation, _ := item[key].(object)
	if operation == nil {
		who := "For a user"
		if route.app {
			who = "Without a user"
		}
		operation = object{"tags": []string{api}, "summary": who, "description": "", "security": []object{}, "responses": forwardedResponses()}
		if method == "POST" || method == "PUT" || method == "PATCH" {
			operation["requestBody"] = object{"description": "Whatever the API takes", "content": object{"application/json": anything(), "*/*": anything()}}
		}
		item[key] = operation
	}
	kind, requirements := "scopes", []object{}
	for _, name := range granting {
		if !route.app {
			requirements = append(requirements, object{userScheme: []string{fullScope(idURI, name)}})
		}
		requirements = append(requirements, object{bearerScheme: []string{name}})
	}
	if route.app {
		kind = "app permissions"
		requirements = append(requirements, object{appScheme: []string{fullScope(idURI, ".default")}})
	}
	security := operation["security"].([]object)
	for _, r := range requirements {
		if !slices.ContainsFunc(security, func(known object) bool { return reflect.DeepEqual(known, r) }) {
			security = append(security, r)
		}
	}
	operation["security"] = security
	operation["description"] = operation["description"].(string) + "`" + pattern + "` needs any one of the " + kind + " `" + strings.Join(granting, "`, `") + "`.\n\n"
}

// forwardedResponses are what a call to an API may be answered.
func forwardedResponses() object {
	answered := func(description string) object {
		return object{
			"description": description, "content": object{"application/json": anything(), "*/*": anything()},
			"headers": object{"X-Request-ID": reference("headers", "X-Request-ID")},
		}
	}
	responses := object{"2XX": answered("What the API answered"), "default": answered("What else the API answered")}
	maps.Copy(responses, problems(400, 401, 403, 404, 405, 413, 429, 431, 500, 501, 502, 503, 504))
	return responses
}

// anything is a body that the API alone knows. JSON is named, since generated
// clients choose by it how to write and read a body.
func anything() object { return object{"schema": object{"description": "As the API says"}} }

// nameOperations gives each operation a name, which is the same whenever the
// configuration is: method, route, API and path, in letters and digits. Paths that
// look the same so are numbered.
func nameOperations(paths object) {
	used := map[string]int{}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := paths[path].(object)
		for _, method := range slices.Sorted(maps.Keys(item)) {
			operation, ok := item[method].(object)
			if !ok { // parameters, servers
				continue
			}
			words := strings.FieldsFunc(path, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
			})
			name := method
			for _, word := range words {
				name += strings.ToUpper(word[:1]) + word[1:]
			}
			if used[name]++; used[name] > 1 {
				name += "_" + strconv.Itoa(used[name])
			}
			operation["operationId"] = name
		}
	}
}

// problems are the responses of these statuses.
func problems(statuses ...int) object {
	responses := object{}
	for _, kind := range problemTypes {
		if slices.Contains(statuses, kind.Status) {
			responses[strconv.Itoa(kind.Status)] = reference("responses", statusResponse(kind.Status))
		}
	}
	return responses
}

// ownPaths are the service's own. root is where those without a base path are.
func (s *Server) ownPaths(root string) object {
	const jsonType = "application/json"
	signout := own("Forget every token held for the user's", 400, 401, 403, 413, 429, 431, 500, 503)
	signout["security"] = []object{{bearerScheme: []string{}}}
	signout["responses"].(object)["204"] = object{"description": "They are forgotten"}
	ready := reading("Whether the service can serve", jsonType)
	ready["responses"].(object)["503"] = found(jsonType)
	kind := object{
		"name": "type", "in": "path", "required": true, "description": "The last part of a problem's type",
		"schema": object{"type": "string", "enum": slices.Sorted(maps.Keys(problemTypes))},
	}
	elsewhere := []object{{"url": root}}
	list := reading("All that can go wrong", jsonType, "text/html")
	return object{
		"/signout":         object{"post": signout},
		metadataPath:       object{"get": reading("Where to get tokens for this service (RFC 9728)", jsonType)},
		"/openapi.json":    object{"get": reading("This description", jsonType)},
		"/docs":            object{"get": reading("A page to read this description", "text/html")},
		"/problems":        object{"get": list},
		"/problems/{type}": object{"parameters": []object{kind}, "get": reading("What an error means, and who must act", jsonType, "text/html")},
		"/healthz":         object{"servers": elsewhere, "get": reading("Whether the process is alive", jsonType)},
		"/readyz":          object{"servers": elsewhere, "get": ready},
	}
}

// own describes an operation of the service's own that may end in problems of
// these statuses.
func own(summary string, statuses ...int) object {
	return object{"tags": []string{ownTag}, "summary": summary, "responses": problems(statuses...)}
}

// reading describes one that is answered to everybody in one of these types.
func reading(summary string, types ...string) object {
	operation := own(summary, 404, 413, 431, 500)
	operation["security"] = []object{} // none
	operation["responses"].(object)["200"] = found(types...)
	return operation
}

func found(types ...string) object {
	content := object{}
	for _, contentType := range types {
		content[contentType] = object{"schema": object{"type": "string"}}
		if contentType == "application/json" {
			content[contentType] = object{"schema": object{"type": "object"}}
		}
	}
	return object{"description": "What was asked for", "content": content}
}
