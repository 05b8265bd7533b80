//! Settings that have no effect: which are warned of, and which are somebody else's.

use crate::material::{Dir, Place};
use typha_tls::config::{ConfigWarning, FelixConfig, Sources, TyphaConfig};

/// All parameters of Calico's Typha (`typha/pkg/config/config_params.go`, August 2026).
const OF_TYPHA: &str = "\
    DatastoreType EtcdAddr EtcdScheme EtcdKeyFile EtcdCertFile EtcdCaFile EtcdEndpoints LogFilePath LogSeverityFile \
    LogSeverityScreen LogSeveritySys HealthEnabled HealthHost HealthPort PrometheusMetricsEnabled \
    PrometheusMetricsHost PrometheusMetricsPort PrometheusGoMetricsEnabled PrometheusProcessMetricsEnabled \
    PrometheusMetricsCAFile PrometheusMetricsCertFile PrometheusMetricsKeyFile PrometheusMetricsClientAuth \
    SnapshotCacheMaxBatchSize ServerMaxMessageSize ServerMaxFallBehindSecs ServerNewClientFallBehindGracePeriod \
    ServerMinBatchingAgeThresholdSecs ServerPingIntervalSecs ServerPongTimeoutSecs ServerHandshakeTimeoutSecs \
    ServerWriteTimeoutSecs ServerPort ServerHost ServerKeyFile ServerCertFile CAFile ClientCN ClientURISAN \
    DebugMemoryProfilePath DebugDisableLogDropping DebugHost DebugPort ConnectionRebalancingMode \
    ConnectionDropIntervalSecs ShutdownTimeoutSecs ShutdownConnectionDropIntervalMaxSecs MaxConnectionsUpperLimit \
    MaxConnectionsLowerLimit K8sServicePollIntervalSecs K8sNamespace K8sServiceName K8sPortName";

/// All parameters of Calico's Felix (`felix/config/config_params.go`, August 2026).
const OF_FELIX: &str = "\
    UseInternalDataplaneDriver DataplaneDriver DataplaneWatchdogTimeout WireguardEnabled WireguardEnabledV6 \
    WireguardListeningPort WireguardListeningPortV6 WireguardRoutingRulePriority WireguardInterfaceName \
    WireguardInterfaceNameV6 WireguardMTU WireguardMTUV6 WireguardHostEncryptionEnabled WireguardPersistentKeepAlive \
    WireguardThreadingEnabled NFTablesMode NFTablesFlowTableOffload NFTablesFlowTableDataIfacePattern BPFEnabled \
    BPFOverlayHostSourceIP BPFDisableUnprivileged BPFJITHardening BPFLogLevel BPFConntrackLogLevel \
    BPFConntrackCleanupMode BPFConntrackTimeouts BPFIPFragTimeout BPFLogFilters BPFCTLBLogFilter BPFDataIfacePattern \
    BPFL3IfacePattern BPFConnectTimeLoadBalancingEnabled BPFConnectTimeLoadBalancing BPFHostNetworkedNATWithoutCTLB \
    BPFExternalServiceMode BPFDSROptoutCIDRs BPFKubeProxyIptablesCleanupEnabled BPFKubeProxyMinSyncPeriod \
    BPFKubeProxyHealthzPort BPFExtToServiceConnmark BPFPSNATPorts BPFMapSizeNATFrontend BPFMapSizeNATBackend \
    BPFMapSizeNATAffinity BPFMapSizeRoute BPFMapSizeConntrack BPFMapSizePerCPUConntrack BPFMapSizeConntrackScaling \
    BPFMapSizeConntrackCleanupQueue BPFMapSizeIPSets BPFMapSizeIfState BPFHostConntrackBypass \
    BPFIPFragmentReassemblyEnabled BPFEnforceRPF BPFPolicyDebugEnabled BPFForceTrackPacketsFromIfaces \
    BPFDisableGROForIfaces BPFExcludeCIDRsFromNAT BPFRedirectToPeer BPFAttachType BPFExportBufferSizeMB BPFProfiling \
    IstioAmbientMode IstioDSCPMark CgroupV2Path DebugBPFCgroupV2 DatastoreType FelixHostname EtcdAddr EtcdScheme \
    EtcdKeyFile EtcdCertFile EtcdCaFile EtcdEndpoints TyphaAddr TyphaK8sServiceName TyphaK8sNamespace \
    TyphaReadTimeout TyphaWriteTimeout TyphaKeyFile TyphaCertFile TyphaCAFile TyphaCN TyphaURISAN Ipv6Support \
    IptablesBackend RouteRefreshInterval InterfaceRefreshInterval DeviceRouteSourceAddress \
    DeviceRouteSourceAddressIPv6 DeviceRouteProtocol RemoveExternalRoutes ProgramClusterRoutes IPForwarding \
    IptablesRefreshInterval IptablesPostWriteCheckIntervalSecs IptablesLockProbeIntervalMillis FeatureDetectOverride \
    FeatureGates IpsetsRefreshInterval MaxIpsetSize XDPRefreshInterval PolicySyncPathPrefix NetlinkTimeoutSecs \
    MetadataAddr MetadataPort OpenstackRegion InterfacePrefix InterfaceExclude ChainInsertMode \
    DefaultEndpointToHostAction IptablesFilterAllowAction IptablesMangleAllowAction IptablesFilterDenyAction \
    LogPrefix LogActionRateLimit LogActionRateLimitBurst LogFilePath LogSeverityFile LogSeverityScreen \
    LogSeveritySys LogDebugFilenameRegex VXLANEnabled VXLANPort VXLANVNI VXLANMTU VXLANMTUV6 IPv4VXLANTunnelAddr \
    IPv6VXLANTunnelAddr VXLANTunnelMACAddr VXLANTunnelMACAddrV6 IpInIpEnabled IpInIpMtu IpInIpTunnelAddr FloatingIPs \
    LocalSubnetL2Reachability LocalSubnetL2ReachabilityRefreshInterval WindowsManageFirewallRules \
    AllowVXLANPacketsFromWorkloads AllowIPIPPacketsFromWorkloads AWSSrcDstCheck ServiceLoopPrevention \
    WorkloadSourceSpoofing ReportingIntervalSecs ReportingTTLSecs EndpointReportingEnabled \
    EndpointReportingDelaySecs EndpointStatusPathPrefix IptablesMarkMask DisableConntrackInvalidCheck HealthEnabled \
    HealthPort HealthHost HealthTimeoutOverrides PrometheusMetricsEnabled PrometheusMetricsHost \
    PrometheusMetricsPort PrometheusGoMetricsEnabled PrometheusProcessMetricsEnabled \
    PrometheusWireGuardMetricsEnabled PrometheusMetricsCAFile PrometheusMetricsCertFile PrometheusMetricsKeyFile \
    PrometheusMetricsClientAuth FailsafeInboundHostPorts FailsafeOutboundHostPorts FlowLogsFlushInterval \
    FlowLogsCollectorDebugTrace FlowLogsGoldmaneServer FlowLogsLocalReporter FlowLogsPolicyEvaluationMode \
    KubeNodePortRanges NATPortRange NATOutgoingAddress NATOutgoingExclusions UsageReportingEnabled \
    UsageReportingInitialDelaySecs UsageReportingIntervalSecs ClusterGUID ClusterType CalicoVersion \
    ExternalNodesCIDRList DebugMemoryProfilePath DebugCPUProfilePath DebugDisableLogDropping \
    DebugSimulateCalcGraphHangAfter DebugSimulateDataplaneHangAfter DebugSimulateDataplaneApplyDelay DebugPanicAfter \
    DebugSimulateDataRace DebugHost DebugPort RouteSource RouteTableRange RouteTableRanges RouteSyncDisabled \
    IPv4NormalRoutePriority IPv4ElevatedRoutePriority IPv6NormalRoutePriority IPv6ElevatedRoutePriority \
    LiveMigrationRouteConvergenceTime IptablesNATOutgoingInterfaceFilter SidecarAccelerationEnabled XDPEnabled \
    GenericXDPEnabled Variant GoGCThreshold GoMemoryLimitMB GoMaxProcs MTUIfacePattern NftablesRefreshInterval \
    NftablesFilterAllowAction NftablesMangleAllowAction NftablesFilterDenyAction NftablesMarkMask RequireMTUFile \
    BPFMaglevMaxEndpointsPerService BPFMaglevMaxServices";

/// What Kubernetes and Calico's manifests set beside them.
const OTHERS: &str = "\
    TYPHA_SERVICE_HOST TYPHA_SERVICE_PORT TYPHA_SERVICE_PORT_CALICO_TYPHA TYPHA_PORT TYPHA_PORT_5473_TCP \
    TYPHA_PORT_5473_TCP_ADDR TYPHA_PORT_5473_TCP_PORT TYPHA_PORT_5473_TCP_PROTO CALICO_TYPHA_SERVICE_HOST \
    CALICO_TYPHA_SERVICE_PORT CALICO_TYPHA_PORT CALICO_TYPHA_PORT_5473_TCP CALICO_TYPHA_PORT_5473_TCP_ADDR \
    CALICO_TYPHA_PORT_5473_TCP_PORT CALICO_TYPHA_PORT_5473_TCP_PROTO CALICO_TYPHA_SERVICE_PORT_CALICO_TYPHA \
    FELIX_SERVICE_HOST FELIX_SERVICE_PORT FELIX_PORT FELIX_PORT_9091_TCP CALICO_NETWORKING_BACKEND \
    CALICO_IPV4POOL_CIDR CALICO_DISABLE_FILE_LOGGING CALICO_MANAGE_CNI \
    CALICO_NODENAME_FILE CALICO_K8S_NODE_REF CALICO_STARTUP_LOGLEVEL \
    KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT NODENAME CLUSTER_TYPE DATASTORE_TYPE WAIT_FOR_DATASTORE IP PATH \
    HOME HOSTNAME TLS_MAX_VERSION TLS_CERT_FILE TLS_KEY_FILE TLS_CA_FILE RUSTLS_MIN_VERSION SSL_CERT_FILE ETCD_CA_FILE \
    ETCD_CIPHER_SUITES GODEBUG";

fn of_typha(sources: &Sources) -> Vec<ConfigWarning> {
    TyphaConfig::load(sources).unwrap().warnings().to_vec()
}

fn of_felix(sources: &Sources) -> Vec<ConfigWarning> {
    FelixConfig::load(sources).unwrap().warnings().to_vec()
}

/// Variables, and a file with these lines.
fn sources(dir: &Dir, prefix: &str, variables: &[(&str, &str)], file: &str) -> Sources {
    dir.write("daemon.cfg", file);
    Sources::none()
        .with_prefixes([prefix])
        .with_environment(variables.iter().copied())
        .with_file(dir.text("daemon.cfg"))
}

/// Kubernetes sets such variables for a service with the name `typha-server`.
#[test]
fn a_variable_of_a_service_is_not_warned_of() {
    let dir = Dir::new();
    let variables = [("TYPHA_SERVER_PORT", "tcp://10.96.0.9:5473"), ("TYPHA_SERVER_PORT_", "5473")];
    let names: Vec<_> =
        of_typha(&sources(&dir, "TYPHA_", &variables, "")).into_iter().map(|w| w.name).collect();
    assert_eq!(names, ["TYPHA_SERVER_PORT_"]);
}

#[test]
fn no_name_of_calico_and_of_kubernetes_is_warned_of() {
    let dir = Dir::new();
    type Warnings = fn(&Sources) -> Vec<ConfigWarning>;
    let ends: [(&str, &str, Warnings); 2] = [("TYPHA_", OF_TYPHA, of_typha), ("FELIX_", OF_FELIX, of_felix)];
    for (prefix, names, warnings) in ends {
        // `none` is good for every parameter that is read here, except for those that must not be 0.
        let names = names.split_whitespace().filter(|name| {
            !name.starts_with("ServerHandshake")
                && !name.contains("Connections")
                && !name.contains("DropIntervalSecs")
        });
        let all: Vec<_> = names.map(|name| (name, "none")).collect();
        assert!(all.len() > 40);
        for place in [Place::Environment, Place::File] {
            assert_eq!(warnings(&place.only(&dir, prefix, &all)), []);
        }
        let others: Vec<_> = OTHERS.split_whitespace().map(|name| (name, "x")).collect();
        for prefix in [prefix, "CALICO_"] {
            assert_eq!(warnings(&sources(&dir, prefix, &others, "")), [], "{prefix}");
        }
    }
}

#[test]
fn a_name_that_is_close_to_a_parameter_is_warned_of() {
    let dir = Dir::new();
    let file = dir.text("daemon.cfg");
    let misspelt = "there is no parameter of this name";
    for (name, instead) in [
        ("ClientURISANs", "ClientURISAN"),
        ("Client_URI_SAN", "ClientURISAN"),
        ("cleintcn", "ClientCN"),
        ("CA-File", "CAFile"),
        ("CAFiles", "CAFile"),
        ("ServerCertFlie", "ServerCertFile"),
        ("ServerKeysFiles", "ServerKeyFile"),
        ("ServerHandshakeTimeoutSec", "ServerHandshakeTimeoutSecs"),
        ("TyphaCaFiles", "CAFile"),
    ] {
        let in_file = of_typha(&sources(&dir, "TYPHA_", &[], &format!("{name} = x\n{name} = y\n")));
        let text = format!(
            r#""{name}" (from file {file}) has no effect: {misspelt}; set {instead} if that is meant"#
        );
        assert_eq!(in_file.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
        let variable = format!("TYPHA_{name}");
        let in_environment = of_typha(&sources(&dir, "TYPHA_", &[(&variable, "x")], ""));
        let upper = instead.to_uppercase();
        let text = format!(
            "\"{variable}\" (from environment variable \"{variable}\") has no effect: {misspelt}; set the environment \
             variable TYPHA_{upper} if that is meant"
        );
        assert_eq!(in_environment.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
        // An empty value counts as not set, also in a name that is right.
        assert_eq!(of_typha(&sources(&dir, "TYPHA_", &[(&variable, "")], &format!("{name} =\n"))), []);
    }
    let typo = of_felix(&sources(&dir, "FELIX_", &[], "ClientURISANs = x\n"));
    assert_eq!((typo.len(), &*typo[0].instead), (1, "TyphaURISAN"));
}

#[test]
fn a_parameter_of_the_other_end_is_warned_of() {
    let dir = Dir::new();
    let found = |warnings: Vec<ConfigWarning>| -> Vec<(String, &'static str, String)> {
        warnings.into_iter().map(|warning| (warning.name, warning.problem, warning.instead)).collect()
    };
    let (of_the_typha, of_the_felix) = ("it is a parameter of Typha", "it is a parameter of Felix");
    let prefix = "it has the prefix of the other end";
    let set = |name: &str| format!("the environment variable {name}");
    let felix = |variables: &[(&str, &str)], file| found(of_felix(&sources(&dir, "FELIX_", variables, file)));
    let typha = |variables: &[(&str, &str)], file| found(of_typha(&sources(&dir, "TYPHA_", variables, file)));
    assert_eq!(
        felix(&[("FELIX_CAFILE", "x")], "ServerKeyFile = x"),
        [
            ("FELIX_CAFILE".to_owned(), of_the_typha, set("FELIX_TYPHACAFILE")),
            ("ServerKeyFile".to_owned(), of_the_typha, "TyphaKeyFile".to_owned()),
        ]
    );
    assert_eq!(
        felix(&[("TYPHA_TYPHACAFILE", "x"), ("TYPHA_CAFILE", "x")], ""),
        [("TYPHA_TYPHACAFILE".to_owned(), prefix, set("FELIX_TYPHACAFILE"))]
    );
    assert_eq!(
        typha(&[("TYPHA_TYPHACN", "x")], "TyphaURISAN = x"),
        [
            ("TYPHA_TYPHACN".to_owned(), of_the_felix, set("TYPHA_CLIENTCN")),
            ("TyphaURISAN".to_owned(), of_the_felix, "ClientURISAN".to_owned()),
        ]
    );
    assert_eq!(
        typha(&[("FELIX_CLIENTCN", "x"), ("FELIX_TYPHACN", "x")], ""),
        [("FELIX_CLIENTCN".to_owned(), prefix, set("TYPHA_CLIENTCN"))]
    );
}

#[test]
fn the_policy_of_the_process_in_a_wrong_place_is_warned_of() {
    let dir = Dir::new();
    let file = "TLS_MIN_VERSION = 1.3\ntls_cipher_suites = x\n";
    let wrong = [
        ("TYPHA_TLS_MIN_VERSION", "1.3"),
        ("tls_min_version", "1.3"),
        ("TLS_MIN_VERSION ", "1.3"),
        ("TLS_MINVERSION", "1.3"),
        ("TLS_CIPHER_SUITE", "x"),
        ("typha_TLS_CIPHER_SUITES", "x"),
    ];
    let found = of_typha(&sources(&dir, "TYPHA_", &wrong, file));
    let mut names: Vec<_> = found.iter().map(|warning| (&*warning.name, &*warning.instead)).collect();
    names.sort_unstable();
    let [version, suites] =
        ["TLS_MIN_VERSION", "TLS_CIPHER_SUITES"].map(|n| format!("the environment variable {n}"));
    assert_eq!(
        names,
        [
            ("TLS_CIPHER_SUITE", &*suites),
            ("TLS_MINVERSION", &version),
            ("TLS_MIN_VERSION", &version),
            ("TLS_MIN_VERSION ", &version),
            ("TYPHA_TLS_MIN_VERSION", &version),
            ("tls_cipher_suites", &suites),
            ("tls_min_version", &version),
            ("typha_TLS_CIPHER_SUITES", &suites),
        ]
    );
    let in_file = found.iter().find(|warning| warning.name == "TLS_MIN_VERSION").unwrap();
    let text = format!(
        "\"TLS_MIN_VERSION\" (from file {}) has no effect: it counts only in the environment, without a prefix and \
         spelt exactly; set the environment variable TLS_MIN_VERSION if that is meant",
        dir.text("daemon.cfg")
    );
    assert_eq!(in_file.to_string(), text);
    let right = [("TLS_MIN_VERSION", "1.3"), ("TLS_CIPHER_SUITES", "TLS_AES_128_GCM_SHA256")];
    assert_eq!(of_typha(&sources(&dir, "TYPHA_", &right, "")), []);
}

/// The precedence is no mistake.
#[test]
fn a_parameter_that_is_set_twice_is_not_warned_of() {
    let dir = Dir::new();
    let twice = sources(&dir, "TYPHA_", &[("TYPHA_SERVERPORT", "1")], "ServerPort = 2\nserverport = 3\n");
    assert_eq!(of_typha(&twice), []);
}
