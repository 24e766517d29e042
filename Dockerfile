# A server of souk: the command is its role, seller or buyer. Its settings come from the environment, and nothing secret is
# in the image. compose.yaml runs both roles with their databases.

FROM node:20-bookworm-slim AS build
WORKDIR /souk
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig*.json LICENSE ./
COPY scripts scripts
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:20-bookworm-slim
ENV NODE_ENV=production
# Inside a container, the loopback address is out of its clients' reach.
ENV SOUK_HOST=0.0.0.0
WORKDIR /souk
COPY package.json schema.sql LICENSE ./
COPY migrations migrations
COPY --from=build /souk/node_modules node_modules
COPY --from=build /souk/dist dist
USER node
EXPOSE 7101 7102
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=20s \
  CMD ["sh", "-c", "node dist/souk.js seller ping --timeout 3 || node dist/souk.js buyer ping --timeout 3"]
ENTRYPOINT ["node", "dist/server.js"]
CMD ["seller"]
