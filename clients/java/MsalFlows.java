import com.azure.json.JsonProviders;
import com.azure.json.JsonReader;
import com.microsoft.aad.msal4j.AbstractClientApplicationBase;
import com.microsoft.aad.msal4j.AuthorizationCodeParameters;
import com.microsoft.aad.msal4j.AuthorizationRequestUrlParameters;
import com.microsoft.aad.msal4j.ClientCredentialFactory;
import com.microsoft.aad.msal4j.ClientCredentialParameters;
import com.microsoft.aad.msal4j.ConfidentialClientApplication;
import com.microsoft.aad.msal4j.DeviceCodeFlowParameters;
import com.microsoft.aad.msal4j.IAuthenticationResult;
import com.microsoft.aad.msal4j.IClientCredential;
import com.microsoft.aad.msal4j.OnBehalfOfParameters;
import com.microsoft.aad.msal4j.PublicClientApplication;
import com.microsoft.aad.msal4j.SilentParameters;
import com.microsoft.aad.msal4j.UserAssertion;
import java.io.IOException;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * MSAL for Java: each way to get a token, and a call with it. It ends with another code than 0
 * where something is not as it wants it.
 *
 * <p>Beside the authority it needs one setting, instanceDiscovery(false): else it asks Microsoft
 * whether the authority's host is one of theirs. Java trusts the platform's CA by the key store in
 * javax.net.ssl.trustStore.
 */
class MsalFlows {
  // Where the test has put everything: the URLs of the identity platform, the middle tier, the
  // ToDo API, and of people who sign in.
  static final String PLATFORM = System.getenv("PLATFORM");
  static final String SERVICE = System.getenv("SERVICE");
  static final String TODO = System.getenv("TODO");
  static final String PEOPLE = System.getenv("PEOPLE");

  // The names of the platform's default directory.
  static final String AUTHORITY = PLATFORM + "/11111111-1111-4111-8111-111111111111/";
  static final String MIDDLE_TIER = "22222222-2222-4222-8222-222222222222";
  static final String DAEMON = "55555555-5555-4555-8555-555555555555";
  static final String WEB = "66666666-6666-4666-8666-666666666666";
  static final String NATIVE = "88888888-8888-4888-8888-888888888888";
  static final String SECRET = "mock-secret";
  static final Set<String> APP_SCOPE = Set.of("api://" + MIDDLE_TIER + "/.default");
  static final Set<String> USER_SCOPE = Set.of("api://" + MIDDLE_TIER + "/ToDoList.ReadWrite");
  static final Set<String> TODO_SCOPE = Set.of("api://todo/.default");

  static final Set<String> EVERYONE = Set.of("alice", "bob");
  static final HttpClient HTTP = HttpClient.newHttpClient();

  interface Flow {
    void run() throws Exception;
  }

  public static void main(String[] args) {
    Map<String, Flow> flows = new HashMap<>();
    flows.put("secret", MsalFlows::secret);
    flows.put("certificate", MsalFlows::certificate);
    flows.put("on behalf of", MsalFlows::onBehalfOf);
    flows.put("code of a web app", MsalFlows::codeOfWebApp);
    flows.put("code of a public client", MsalFlows::codeOfPublicClient);
    flows.put("device code", MsalFlows::deviceCode);
    int failed = 0;
    for (var flow : flows.entrySet()) {
      try {
        flow.getValue().run();
      } catch (Exception | AssertionError e) {
        System.out.println(flow.getKey() + ":");
        e.printStackTrace(System.out);
        failed++;
      }
    }
    System.exit(failed); // the library's threads go on
  }

  static void secret() throws Exception {
    var app = confidential(DAEMON, ClientCredentialFactory.createFromSecret(SECRET));
    wantOwners(EVERYONE, SERVICE + "/app/todo/items", appToken(app));
  }

  static void certificate() throws Exception {
    String pem = Files.readString(Path.of(System.getenv("ROBOT_KEY"))).replaceAll("-----[A-Z ]+-----|\\s", "");
    var key = KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
    X509Certificate certificate;
    try (var in = Files.newInputStream(Path.of(System.getenv("ROBOT_CERTIFICATE")))) {
      certificate = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
    }
    var app = confidential(System.getenv("ROBOT_CLIENT_ID"), ClientCredentialFactory.createFromCertificate(key, certificate));
    wantOwners(EVERYONE, SERVICE + "/app/todo/items", appToken(app));
  }

  static void onBehalfOf() throws Exception {
    var app = confidential(MIDDLE_TIER, ClientCredentialFactory.createFromSecret(SECRET));
    var assertion = new UserAssertion(get(PLATFORM + "/mock/tokens/alice", null).strip());
    var result = app.acquireToken(OnBehalfOfParameters.builder(TODO_SCOPE, assertion).build()).get();
    wantOwners(Set.of("alice"), TODO + "/items", result.accessToken());
  }

  static void codeOfWebApp() throws Exception {
    code(confidential(WEB, ClientCredentialFactory.createFromSecret(SECRET)), "http://localhost:3000/auth/redirect");
  }

  static void codeOfPublicClient() throws Exception {
    code(publicClient(), "http://localhost:50124");
  }

  static void code(AbstractClientApplicationBase app, String redirectUri) throws Exception {
    String verifier = "a-verifier-that-nobody-else-would-have-to-know-0";
    byte[] hash = MessageDigest.getInstance("SHA-256").digest(verifier.getBytes(StandardCharsets.US_ASCII));
    var page = app.getAuthorizationRequestUrl(AuthorizationRequestUrlParameters.builder(redirectUri, USER_SCOPE)
        .codeChallenge(Base64.getUrlEncoder().withoutPadding().encodeToString(hash)).codeChallengeMethod("S256")
        .state("our state").build());
    var back = parameters(visit(page.toString(), "alice", "").get("form"));
    wantEqual("our state", back.get("state"));
    var result = app.acquireToken(AuthorizationCodeParameters.builder(back.get("code"), URI.create(redirectUri))
        .codeVerifier(verifier).scopes(USER_SCOPE).build()).get();
    refresh(app, result);
  }

  static void deviceCode() throws Exception {
    var app = publicClient();
    refresh(app, app.acquireToken(DeviceCodeFlowParameters
        .builder(USER_SCOPE, device -> visit(device.verificationUri(), "alice", device.userCode())).build()).get());
  }

  /** Calls with the token, with the cached one, and with one got for the refresh token. */
  static void refresh(AbstractClientApplicationBase app, IAuthenticationResult result) throws Exception {
    wantOwners(Set.of("alice"), SERVICE + "/api/todo/items", result.accessToken());
    wantEqual("alice@contoso.example", result.account().username());
    // Without the authority the refresh goes to port 443 of its host.
    var silent = SilentParameters.builder(USER_SCOPE, result.account()).authorityUrl(AUTHORITY);
    wantEqual(result.accessToken(), app.acquireTokenSilently(silent.build()).get().accessToken());
    var refreshed = app.acquireTokenSilently(silent.forceRefresh(true).build()).get().accessToken();
    wantEqual(false, refreshed.equals(result.accessToken()));
    wantOwners(Set.of("alice"), SERVICE + "/api/todo/items", refreshed);
  }

  static ConfidentialClientApplication confidential(String id, IClientCredential credential) throws Exception {
    return ConfidentialClientApplication.builder(id, credential).authority(AUTHORITY).instanceDiscovery(false).build();
  }

  static PublicClientApplication publicClient() throws Exception {
    return PublicClientApplication.builder(NATIVE).authority(AUTHORITY).instanceDiscovery(false).build();
  }

  static String appToken(ConfidentialClientApplication app) throws Exception {
    return app.acquireToken(ClientCredentialParameters.builder(APP_SCOPE).build()).get().accessToken();
  }

  static void wantEqual(Object want, Object got) {
    if (!want.equals(got)) {
      throw new AssertionError("got " + got + ", want " + want);
    }
  }

  /** Wants an address to list the items of these owners. */
  static void wantOwners(Set<String> want, String url, String token) throws Exception {
    Set<String> owners = new TreeSet<>();
    for (Object item : (List<?>) parse(get(url, token))) {
      owners.add((String) ((Map<?, ?>) item).get("name"));
    }
    wantEqual(new TreeSet<>(want), owners);
  }

  static String get(String url, String token) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(url));
    if (token != null) {
      request.header("Authorization", "Bearer " + token);
    }
    var response = HTTP.send(request.build(), BodyHandlers.ofString());
    if (response.statusCode() != 200) {
      throw new AssertionError(url + ": " + response.statusCode() + " " + response.body());
    }
    return response.body();
  }

  static Object parse(String json) throws IOException {
    try (JsonReader reader = JsonProviders.createReader(json)) {
      return reader.readUntyped();
    }
  }

  /**
   * Opens a page as a user. Returns where the platform sends the browser in the end, as "url", and
   * what it posts there, as "form": this library asks for that (form_post).
   */
  @SuppressWarnings("unchecked")
  static Map<String, String> visit(String page, String user, String code) {
    try {
      String person = "?url=" + encode(page) + "&user=" + user + "@contoso.example&code=" + encode(code);
      return (Map<String, String>) parse(get(PEOPLE + "/" + person, null));
    } catch (Exception e) {
      throw new AssertionError(e);
    }
  }

  static Map<String, String> parameters(String form) {
    Map<String, String> parameters = new HashMap<>();
    for (String pair : form.split("&")) {
      String[] parts = pair.split("=", 2);
      parameters.put(parts[0], URLDecoder.decode(parts[1], StandardCharsets.UTF_8));
    }
    return parameters;
  }

  static String encode(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8);
  }
}
