/** What is used of kafkajs' Broker. Every method connects where needed and throws what kafkajs throws. */
export interface Broker {
  readonly versions: Readonly<Record<number, { readonly minVersion: number; readonly maxVersion: number }>> | null;
  readonly connectionPool: {
    readonly connectionTimeout: number;
    send(request: object): Promise<unknown>;
    /** For good. */
    close(error: Error): void;
  };
  isConnected(): boolean;
  connect(): Promise<void>;
  findGroupCoordinator(query: { groupId: string; coordinatorType: 0 }): Promise<{ coordinator: BrokerAddress }>;
  joinGroup(request: {
    groupId: string;
    sessionTimeout: number;
    rebalanceTimeout: number;
    memberId: string;
    groupProtocols: { name: string; metadata: Buffer }[];
  }): Promise<JoinedGroup>;
  syncGroup(request: {
    groupId: string;
    generationId: number;
    memberId: string;
    groupAssignment: { memberId: string; memberAssignment: Buffer }[];
  }): Promise<{ memberAssignment: Buffer }>;
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>;
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>;
  offsetCommit(request: {
    groupId: string;
    groupGenerationId: number;
    memberId: string;
    topics: { topic: string; partitions: { partition: number; offset: string; metadata: string }[] }[];
  }): Promise<unknown>;
  offsetFetch(request: { groupId: string; topics: { topic: string; partitions: { partition: number }[] }[] }): Promise<{
    errorCode?: number;
    responses: { topic: string; partitions: { partition: number; offset: string; metadata: string | null }[] }[];
  }>;
  listOffsets(request: {
    replicaId: -1;
    isolationLevel: 0;
    topics: { topic: string; partitions: { partition: number; timestamp: number }[] }[];
  }): Promise<{ responses: { topic: string; partitions: { partition: number; offset: string }[] }[] }>;
  createTopics(request: {
    topics: { topic: string; numPartitions: number; configEntries: { name: string; value: string }[] }[];
    timeout: number;
  }): Promise<unknown>;
  createPartitions(request: { topicPartitions: { topic: string; count: number }[]; timeout: number }): Promise<unknown>;
  describeConfigs(request: { resources: { type: number; name: string; configNames: string[] }[] }): Promise<{
    resources: { configEntries: { configName: string; configValue: string | null }[] }[];
  }>;
}

export interface BrokerAddress {
  readonly nodeId?: number;
  readonly host: string;
  readonly port: number;
}

export interface JoinedGroup {
  readonly generationId: number;
  readonly memberId: string;
  readonly leaderId: string;
  /** For the leader. */
  readonly members: { memberId: string; memberMetadata: Buffer }[];
}
