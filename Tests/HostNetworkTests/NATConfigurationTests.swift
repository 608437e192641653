import Testing

@testable import HostNetwork

@Suite struct NATConfigurationTests {
  @Test func aRuleIsReadAndWrittenTheSame() throws {
    let rule = try PortForward("ssh,tcp,,2222,10.0.2.20,22")
    #expect(rule.transport == .tcp && rule.hostAddress == nil && rule.hostPort == 2222)
    #expect(rule.guestAddress == "10.0.2.20" && rule.guestPort == 22)
    #expect(rule.text == "ssh,tcp,,2222,10.0.2.20,22")
    #expect(try PortForward("dns,udp,127.0.0.5,5353,,53").text == "dns,udp,127.0.0.5,5353,,53")
  }

  @Test(arguments: [
    ("", "1 parts"), ("ssh,tcp,,2222,22", "5 parts"), (",tcp,,1,,2", "name"), ("a,sctp,,1,,2", "neither tcp nor udp"),
    ("a,tcp,localhost,1,,2", "no IPv4 address"), ("a,tcp,1.2.3,1,,2", "no IPv4 address"), ("a,tcp,,0,,2", "no port"),
    ("a,tcp,,65536,,2", "no port"), ("a,tcp,,1,,-2", "no port"), ("a,tcp,,1,256.0.0.1,2", "no IPv4 address"),
  ])
  func aWrongRuleIsToldInOneLineWithTheRemedy(_ text: String, _ part: String) {
    let error = #expect(throws: HostNetworkError.self) { try PortForward(text) }
    #expect(error?.message.contains(part) == true, "\(String(describing: error))")
    #expect(error?.remedy?.contains(PortForward.form) == true)
  }

  @Test func aNetworkHasItsGatewayNameServerAndFirstGuest() throws {
    let usual = NATConfiguration()
    #expect(
      "\(usual.gateway) \(usual.nameServer) \(usual.firstGuest) \(usual.mask)"
        == "10.0.2.2 10.0.2.3 10.0.2.15 255.255.255.0")
    let other = try NATConfiguration(network: "192.168.64.0/20")
    #expect("\(other.gateway) \(other.firstGuest) \(other.mask)" == "192.168.64.2 192.168.64.15 255.255.240.0")
  }

  @Test(arguments: ["10.0.2.0", "10.0.2.0/28", "10.0.2.0/7", "10.0.2.1/24", "fec0::/64", "/24", "10.0.2.0/24/1"])
  func whatIsNoNetworkIsRefused(_ text: String) {
    #expect(throws: HostNetworkError.self) { try NATConfiguration(network: text) }
  }
}
