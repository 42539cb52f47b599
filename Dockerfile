# JupyterLab with the package and every dependency at its locked version. docker-compose.yml mounts this folder over /workspace.
FROM python:3.12-slim
WORKDIR /workspace
COPY . .
RUN pip install --no-cache-dir --editable . --constraint constraints.txt \
    && mkdir -p /usr/local/etc/jupyter \
    && printf '{"ServerApp": {"ip": "0.0.0.0", "port": 8888, "open_browser": false}}\n' \
       > /usr/local/etc/jupyter/jupyter_server_config.json
# Any user may be given; Jupyter keeps its own files here.
ENV HOME=/tmp/lab
USER 1000:1000
EXPOSE 8888
CMD ["screener-data", "lab"]
