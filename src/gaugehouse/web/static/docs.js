// Starts Swagger UI; a file of its own because the Content-Security-Policy allows no inline script.
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  validatorUrl: null, // the default would send the description to a server of its own
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
