// The page at /docs: Swagger UI, which nobody else's server checks.
window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
