import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Asks once, then prints the stream's events until it has seen as many as it was told to. */
class Client {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        var ask = HttpRequest.newBuilder(URI.create(System.getenv("ELECTOR_GET_URL"))).build();
        var answer = client.send(ask, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
        var listen = HttpRequest.newBuilder(URI.create(System.getenv("ELECTOR_SSE_URL"))).build();
        var lines = client.send(listen, HttpResponse.BodyHandlers.ofLines()).body();
        lines.filter(line -> line.startsWith("data: ")).limit(Integer.parseInt(args[0]))
            .forEach(line -> { System.out.println(line); System.out.flush(); });
        System.exit(0);
    }
}
